require "net/http"
require "rails"
require "active_record/railtie"
require "action_controller/railtie"

# `make dev-env` says where to listen: `bin/rails server` reads BINDING. database.yml says where the database is.
class Shop < Rails::Application
  config.load_defaults Rails::VERSION::STRING.to_f
  config.cache_classes = false
  config.eager_load = false
  config.consider_all_requests_local = true

  # Rails does this itself from version 7 on.
  config.hosts.concat(ENV["RAILS_DEVELOPMENT_HOSTS"].to_s.split(",")) if Rails::VERSION::MAJOR < 7

  routes.append do
    constraints subdomain: "admin" do
      root to: "products#admin", as: :admin
    end
    root to: "products#index"
  end

  # An application of yours has migrations and seeds for this.
  config.after_initialize do
    ActiveRecord::Schema.define do
      create_table :products, if_not_exists: true do |t|
        t.string :name, null: false
        t.integer :cents, null: false
      end
    end
    if Product.none?
      Product.create!([
        { name: "Teapot", cents: 3450 },
        { name: "Two cups", cents: 1600 },
        { name: "Oolong, 100 g", cents: 1290 },
      ])
    end
  end
end

Rails.application.initialize!
